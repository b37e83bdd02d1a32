"""Where some words occur in a run: in titles, prompts and outputs, of steps that are closed on the page too."""

from __future__ import annotations

from django.db import connection

LONGEST = 200  # characters of a search

# Of a step: its answer (while it is written, that of the newest attempt), and the prompt as sent, else as defined.
_HITS = """
SELECT s.id,
       (length(s.title) - length(replace(lower(s.title), %(q)s, ''))) / length(%(q)s),
       (length(p.prompt) - length(replace(lower(p.prompt), %(q)s, ''))) / length(%(q)s),
       (length(o.output) - length(replace(lower(o.output), %(q)s, ''))) / length(%(q)s)
  FROM workflows_step s
  LEFT JOIN LATERAL (SELECT request, output FROM workflows_stepattempt
                      WHERE step_id = s.id AND branch = '' ORDER BY number DESC LIMIT 1) a ON true,
  LATERAL (SELECT coalesce(nullif(s.output, ''), a.output, '') AS output) o,
  LATERAL (SELECT concat_ws(' ', coalesce(a.request->>'system', s.config->>'system'),
                            coalesce(a.request->>'prompt', s.config->>'prompt', s.config->>'instructions')) AS prompt) p
 WHERE s.workflow_id = %(workflow)s
   AND (strpos(lower(s.title), %(q)s) > 0 OR strpos(lower(p.prompt), %(q)s) > 0 OR strpos(lower(o.output), %(q)s) > 0)
"""


def hits(workflow_pk: int, words: str) -> dict[int, tuple[int, int, int]]:
    """Of each step where `words` occur: how often in title, prompt and output. Large and small letters are alike."""
    q = words.replace("\x00", "").strip()[:LONGEST].lower()
    if not q:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_HITS, {"q": q, "workflow": workflow_pk})
        return {pk: (title, prompt, output) for pk, title, prompt, output in cursor}
