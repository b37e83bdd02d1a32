"""How well the token limits of the templates' steps fit, by what their answers used."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection

from nyxcore.llm import models as registry

ENOUGH = 10  # answers before a limit is judged by them
ROUND = 1_024
MEASURED = """
SELECT w.template_slug, s.key, max(s.title), min(s.position), count(*),
       count(*) FILTER (WHERE a.reason LIKE 'cut_off:%%'),
       percentile_disc(0.5) WITHIN GROUP (ORDER BY a.output_tokens),
       percentile_disc(0.95) WITHIN GROUP (ORDER BY a.output_tokens), max(a.output_tokens),
       max((a.request->>'max_tokens')::int),
       max((a.request->>'max_tokens')::int) FILTER (WHERE a.reason IN ('cut_off:max_tokens', 'cut_off:thinking')),
       (array_agg(a.request->>'model' ORDER BY a.id DESC))[1]
  FROM workflows_stepattempt a
  JOIN workflows_step s ON s.id = a.step_id JOIN workflows_workflow w ON w.id = s.workflow_id
 WHERE a.status IN ('completed', 'cut_off') AND a.kind = 'llm' AND a.output_tokens IS NOT NULL
   AND w.template_slug <> '' AND a.request ? 'max_tokens' AND (%(slug)s = '' OR w.template_slug = %(slug)s)
 GROUP BY w.template_slug, s.key ORDER BY w.template_slug, min(s.position), s.key
"""


@dataclass(frozen=True)
class Fit:
    """The answers of one template step. Tokens are output tokens, thinking included, as the limit counts them."""

    template: str
    step: str
    title: str
    position: int
    answers: int
    cut: int
    p50: int
    p95: int
    most: int
    cap: int  # the highest that was sent
    cut_at: int | None  # the highest that cut an answer
    model: str

    @property
    def suggested(self) -> int | None:
        """Twice the limit that cut; else half as much again as 95 of 100 answers used. None: too few to say."""
        if self.cut_at:
            wanted = max(self.cut_at * 2, self.most)
        elif self.answers < ENOUGH:
            return None
        else:
            wanted = max(self.p95 * 3 // 2, self.most)
        return registry.clamp_max_tokens(self.model, -(-wanted // ROUND) * ROUND)


def measure(template: str = "") -> list[Fit]:
    """Every template step that has answered, or those of one template."""
    with connection.cursor() as cursor:
        cursor.execute(MEASURED, {"slug": template})
        return [Fit(*row) for row in cursor.fetchall()]
