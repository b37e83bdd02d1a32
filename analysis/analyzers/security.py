"""Security: what somebody outside can make the program do that it must not do."""

from analysis.analyzers.base import ModelAnalyzer, Rule

ANALYZER = ModelAnalyzer(
    name="security",
    label="Security",
    version="1",
    settings=True,
    focus="""\
Look for ways in which somebody who may only send input can read, change or run what is not theirs. For each place where
data from outside enters (request, upload, message, file, environment of another party) follow it to where it does
something: a query, a shell, a path, an address, a template, a deserialiser, a redirect, a log. A finding names the
source, the sink, and what an attacker sends. For each entry point ask who may call it, and whose rows it reaches.""",
    leave="""\
- A sink whose data cannot come from outside: constants, values of the program's own, arguments that an operator gives.
- What the framework in use does by itself (escaping templates, bound parameters, CSRF tokens), unless switched off.
- Missing hardening without an attack: rate limits, headers, longer keys, logging, "defence in depth", old versions.
- Denial of service by mere load. Secrets in the source: another program looks for them.
- Tests, examples and fixtures, unless they ship.""",
    severities={
        "critical": "exploitable from outside without an account: code runs, data of others is read or changed",
        "high": "exploitable with an ordinary account, or from outside with a likely condition",
        "medium": "exploitable only with an unlikely condition or a privileged account, or leaks little",
        "low": "a safeguard is broken, and what it guards is still guarded elsewhere in the data",
    },
    rules=(
        Rule(
            "security/sql-injection",
            "Query is built from outside text",
            "critical",
            "SQL, NoSQL, LDAP or XPath with input joined into the text and not bound as a parameter. Includes column "
            "names and ORDER BY that are taken from input without a list of allowed ones.",
        ),
        Rule(
            "security/command-injection",
            "Command is built from outside text",
            "critical",
            "Input reaches a shell, or stands as an option of a program (an argument that may begin with a dash), or "
            "names the program.",
        ),
        Rule(
            "security/code-execution",
            "Outside data is run as code",
            "critical",
            "eval, exec, dynamic import, template source or expression language from input; deserialising with pickle, "
            "yaml.load without a safe loader, Java native serialisation, node `vm`, from data that others can write.",
        ),
        Rule(
            "security/path-traversal",
            "Outside text names a file",
            "high",
            "Input is joined to a path and the result is not checked to lie inside its folder; archives unpacked by "
            "the names inside them; links followed where others may create them.",
        ),
        Rule(
            "security/ssrf",
            "Outside text names an address to fetch",
            "high",
            "The server fetches an address from input and private, loopback or link-local hosts are not refused, or "
            "are refused before a redirect or a second look-up only.",
        ),
        Rule(
            "security/xss",
            "Outside text becomes markup",
            "high",
            "Input reaches HTML, a script, a style or an attribute without escaping for that place: mark_safe, "
            "innerHTML, dangerouslySetInnerHTML, v-html, template escaping switched off, javascript: links.",
        ),
        Rule(
            "security/missing-authorization",
            "Action or row is not checked against the caller",
            "critical",
            "An entry point that changes or shows something without the check its neighbours have, or that takes an id "
            "from input and fetches the row without limiting it to what the caller may see.",
        ),
        Rule(
            "security/authentication",
            "Proof of identity can be skipped or forged",
            "critical",
            "A token or signature that is not verified, verified with the algorithm that the token names, or compared "
            "with ==; a password stored or compared in the clear or by a fast hash; a reset link that does not end.",
        ),
        Rule(
            "security/weak-randomness",
            "Secret is made of guessable numbers",
            "high",
            "Tokens, passwords, keys, nonces or ids that must not be guessed come from a generator that is not "
            "cryptographic, from the time, or from a fixed seed.",
        ),
        Rule(
            "security/weak-crypto",
            "Cryptography does not protect",
            "high",
            "A broken cipher or mode (ECB, a fixed IV or nonce, no authentication), a broken hash where collisions "
            "matter, certificate checks switched off for a connection that leaves the machine.",
        ),
        Rule(
            "security/csrf",
            "Change can be triggered by another site",
            "high",
            "A state-changing request that relies on cookies and is exempt from the token, or is done on GET; CORS "
            "that reflects any origin together with credentials.",
        ),
        Rule(
            "security/open-redirect",
            "Outside text decides where people are sent",
            "medium",
            "A redirect to an address from input without a check that it stays on the site, also `//host`.",
        ),
        Rule(
            "security/mass-assignment",
            "Outside data sets fields it must not set",
            "high",
            "A whole request body is copied into a row or object, so that owner, role, price or id can be sent along; "
            "merging input into objects so that __proto__ is reached.",
        ),
        Rule(
            "security/data-exposure",
            "Secret or private data is shown or logged",
            "medium",
            "Passwords, tokens, whole rows with private fields, or stack traces go into an answer or a log that others "
            "can read.",
        ),
        Rule(
            "security/unsafe-setting",
            "Setting switches a protection off",
            "high",
            "Debug mode, permissive CORS, disabled certificate checks, a world-readable secret or an all-powerful "
            "role, in configuration that is meant for production.",
        ),
    ),
)
