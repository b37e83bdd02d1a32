"""The grammars we have, and what is asked of each: definitions, imports, references. Loaded when first needed.

Captures: `@name` is the name of the definition that the other capture spans, whose own name is the kind; `@owner` the
type that a method outside of its body belongs to; `@ref` a name that is used; `@import` a whole statement;
`@required` the argument of a call that may be an import.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Language, Query

PYTHON = """
(class_definition name: (identifier) @name) @class
(function_definition name: (identifier) @name) @function
(import_statement) @import
(import_from_statement) @import
(future_import_statement) @import
(call function: [(identifier) @ref (attribute attribute: (identifier) @ref)])
(class_definition superclasses: (argument_list [(identifier) @ref (attribute attribute: (identifier) @ref)]))
(decorator [(identifier) @ref (attribute attribute: (identifier) @ref)])
(type (identifier) @ref)
"""
ECMA = """
(function_declaration name: (identifier) @name) @function
(generator_function_declaration name: (identifier) @name) @function
(method_definition name: [(property_identifier) (private_property_identifier)] @name) @method
(variable_declarator name: (identifier) @name value: [(arrow_function) (function_expression)]) @function
(import_statement) @import
(export_statement source: (string)) @import
(call_expression function: [(identifier) @ref (member_expression property: (property_identifier) @ref)])
(call_expression function: (identifier) @call arguments: (arguments . (string) @required))
(new_expression constructor: (identifier) @ref)
"""
JAVASCRIPT = (
    ECMA
    + """
(class_declaration name: (identifier) @name) @class
(class_heritage (identifier) @ref)
(jsx_opening_element name: (identifier) @ref)
(jsx_self_closing_element name: (identifier) @ref)
"""
)
TYPESCRIPT = (
    ECMA
    + """
(class_declaration name: (type_identifier) @name) @class
(abstract_class_declaration name: (type_identifier) @name) @class
(interface_declaration name: (type_identifier) @name) @interface
(type_alias_declaration name: (type_identifier) @name) @type
(enum_declaration name: (identifier) @name) @type
(internal_module name: (identifier) @name) @module
(extends_clause value: (identifier) @ref)
(type_annotation (type_identifier) @ref)
(type_arguments (type_identifier) @ref)
(implements_clause (type_identifier) @ref)
"""
)
TSX = (
    TYPESCRIPT
    + """
(jsx_opening_element name: (identifier) @ref)
(jsx_self_closing_element name: (identifier) @ref)
"""
)
GO = """
(function_declaration name: (identifier) @name) @function
(method_declaration
  receiver: (parameter_list (parameter_declaration type: [
    (type_identifier) @owner
    (pointer_type (type_identifier) @owner)
    (generic_type type: (type_identifier) @owner)
    (pointer_type (generic_type type: (type_identifier) @owner))]))
  name: (field_identifier) @name) @method
(type_spec name: (type_identifier) @name) @type
(import_spec) @import
(call_expression function: [(identifier) @ref (selector_expression field: (field_identifier) @ref)])
(type_identifier) @ref
"""
JAVA = """
(class_declaration name: (identifier) @name) @class
(record_declaration name: (identifier) @name) @class
(interface_declaration name: (identifier) @name) @interface
(enum_declaration name: (identifier) @name) @type
(annotation_type_declaration name: (identifier) @name) @type
(method_declaration name: (identifier) @name) @method
(constructor_declaration name: (identifier) @name) @method
(import_declaration) @import
(method_invocation name: (identifier) @ref)
(type_identifier) @ref
"""
RUST = """
(struct_item name: (type_identifier) @name) @class
(union_item name: (type_identifier) @name) @class
(enum_item name: (type_identifier) @name) @type
(type_item name: (type_identifier) @name) @type
(trait_item name: (type_identifier) @name) @interface
(mod_item name: (identifier) @name body: (_)) @module
(impl_item type: [(type_identifier) @name (generic_type type: (type_identifier) @name)]) @impl
(function_item name: (identifier) @name) @function
(macro_definition name: (identifier) @name) @macro
(use_declaration) @import
(mod_item !body) @import
(call_expression function: [
  (identifier) @ref
  (field_expression field: (field_identifier) @ref)
  (scoped_identifier name: (identifier) @ref)])
(macro_invocation macro: (identifier) @ref)
(type_identifier) @ref
"""

# Name of the grammar: module, the function in it, query.
GRAMMARS = {
    "python": ("tree_sitter_python", "language", PYTHON),
    "javascript": ("tree_sitter_javascript", "language", JAVASCRIPT),
    "typescript": ("tree_sitter_typescript", "language_typescript", TYPESCRIPT),
    "tsx": ("tree_sitter_typescript", "language_tsx", TSX),
    "go": ("tree_sitter_go", "language", GO),
    "java": ("tree_sitter_java", "language", JAVA),
    "rust": ("tree_sitter_rust", "language", RUST),
}


@lru_cache
def load(name: str) -> tuple[Language, Query] | None:
    """Return a language's grammar and query; None where there is none for it."""
    if name not in GRAMMARS:
        return None
    import tree_sitter

    module, function, query = GRAMMARS[name]
    language = tree_sitter.Language(getattr(import_module(module), function)())
    return language, tree_sitter.Query(language, query)
