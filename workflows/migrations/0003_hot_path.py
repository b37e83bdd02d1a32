"""The hot path in the database: "completed, go on" in one round trip. See workflows/hotpath.py for when it is used.

It writes only what the edge tables allow (the same triggers guard it), and leaves everything but the plain case to
workflows/engine.py by returning NULL or by raising NX001, which undoes the call.
"""

from django.db import migrations

JOB = """
CREATE FUNCTION workflows_job(p_attempt bigint) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'attempt', a.id, 'number', a.number, 'cause', a.cause, 'max_tokens', a.max_tokens,
        'continues', a.continues_id, 'comment', a.comment,
        'step', s.id, 'key', s.key, 'kind', s.kind, 'config', s.config,
        'workflow', w.id, 'input', w.input, 'default_model', w.default_model,
        'outputs', coalesce((SELECT jsonb_object_agg(n.key, jsonb_build_array(n.output, n.notes))
                               FROM workflows_step n
                              WHERE n.workflow_id = w.id AND n.key = ANY(s.needs)
                                AND n.status IN ('completed', 'skipped')), '{}'))
      FROM workflows_stepattempt a
      JOIN workflows_step s ON s.id = a.step_id
      JOIN workflows_workflow w ON w.id = s.workflow_id
     WHERE a.id = p_attempt
$$;
"""

OPEN_READY = """
-- Opens the steps whose needs are all done (of those that need `p_done`, if given), the first one already claimed
-- for `p_worker` if that is not empty; completes the workflow when no step is left. Its row is locked by the caller.
CREATE FUNCTION workflows_open_ready(
    p_workflow bigint, p_done text, p_worker text, p_user bigint, p_lease float8, p_deadline float8, p_ring float8
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    ready record;
    last integer;
    new_attempt bigint;
    claimed bigint;
    others integer := 0;
    row_version integer;
    hints jsonb := '[]';
BEGIN
    FOR ready IN
        SELECT s.id, s.kind, s.config FROM workflows_step s
         WHERE s.workflow_id = p_workflow AND s.status = 'pending' AND (p_done IS NULL OR p_done = ANY(s.needs))
           AND NOT EXISTS (SELECT FROM unnest(s.needs) AS need WHERE NOT EXISTS (
                   SELECT FROM workflows_step n
                    WHERE n.workflow_id = p_workflow AND n.key = need AND n.status IN ('completed', 'skipped')))
         ORDER BY s.position
    LOOP
        SELECT max(number) INTO last FROM workflows_stepattempt WHERE step_id = ready.id AND branch = '';
        INSERT INTO workflows_stepattempt (
            step_id, kind, branch, number, cause, comment, request, output, stop_reason, model, usage, cost_estimated,
            request_id, error, reason, version, caused_by_id, status, worker, started_at, heartbeat_at, due_at,
            deadline_at, queued_at, status_changed_at)
        SELECT ready.id, ready.kind, '', coalesce(last, 0) + 1, CASE WHEN last IS NULL THEN 'start' ELSE 'rerun' END,
               '', '{}', '', '', '', '{}', false, '', '', '', mine::int, p_user,
               CASE WHEN mine THEN 'running' ELSE 'pending' END, CASE WHEN mine THEN p_worker ELSE '' END,
               CASE WHEN mine THEN clock END, CASE WHEN mine THEN clock END,
               clock + make_interval(secs => CASE WHEN mine THEN p_lease ELSE p_ring END),
               CASE WHEN mine THEN clock + make_interval(
                   secs => coalesce((ready.config->>'deadline')::float8, p_deadline)) END,
               clock, clock
          FROM (SELECT clock_timestamp() AS clock, p_worker <> '' AND claimed IS NULL AS mine) AS now_
        RETURNING id INTO new_attempt;
        IF p_worker <> '' AND claimed IS NULL THEN
            claimed := new_attempt;
        ELSE
            others := others + 1;
        END IF;
        UPDATE workflows_step
           SET status = 'running', reason = '', status_changed_at = clock_timestamp(), version = version + 1,
               started_at = coalesce(started_at, clock_timestamp()), finished_at = NULL
         WHERE id = ready.id RETURNING version INTO row_version;
        hints := hints || jsonb_build_array(jsonb_build_array('step', ready.id, row_version, 'pending', 'running'));
    END LOOP;
    IF claimed IS NULL AND others = 0
       AND NOT EXISTS (SELECT FROM workflows_step WHERE workflow_id = p_workflow AND status = 'running') THEN
        IF EXISTS (SELECT FROM workflows_step
                    WHERE workflow_id = p_workflow AND status NOT IN ('completed', 'skipped')) THEN
            RAISE EXCEPTION 'not the plain case' USING ERRCODE = 'NX001';
        END IF;
        UPDATE workflows_workflow
           SET status = 'completed', reason = '', status_changed_at = clock_timestamp(), version = version + 1,
               finished_at = greatest(clock_timestamp(), started_at)
         WHERE id = p_workflow RETURNING version INTO row_version;
        hints := hints || jsonb_build_array(
            jsonb_build_array('workflow', p_workflow, row_version, 'running', 'completed'));
    END IF;
    RETURN jsonb_build_object('hints', hints, 'ring', others, 'next', workflows_job(claimed));
END $$;
"""

GO_ON = """
-- Ends the attempt that `p_worker` holds as completed, completes its step, and goes on. NULL: not the plain case.
CREATE FUNCTION workflows_go_on(
    p_attempt bigint, p_worker text, p_claim boolean, p_text text, p_request jsonb,
    p_lease float8, p_deadline float8, p_ring float8
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    run bigint;
    done_step bigint;
    done_key text;
    row_version integer;
    result jsonb;
BEGIN
    SELECT s.workflow_id, s.id, s.key INTO run, done_step, done_key
      FROM workflows_stepattempt a JOIN workflows_step s ON s.id = a.step_id WHERE a.id = p_attempt;
    -- The lock stands in a statement of its own: what is read after it is as the last holder left it.
    PERFORM FROM workflows_workflow
      WHERE id = run AND status = 'running' AND held_by_id IS NULL AND budget IS NULL FOR UPDATE;
    IF NOT FOUND OR EXISTS (
        SELECT FROM workflows_step
         WHERE workflow_id = run AND status NOT IN ('pending', 'running', 'completed', 'skipped')) THEN
        RETURN NULL;
    END IF;
    UPDATE workflows_stepattempt
       SET status = 'completed', reason = '', status_changed_at = clock_timestamp(), version = version + 1,
           finished_at = greatest(clock_timestamp(), started_at), due_at = NULL, error = '', reserved = NULL,
           output = p_text, request = coalesce(p_request, request)
     WHERE id = p_attempt AND status = 'running' AND worker = p_worker;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE workflows_step
       SET status = 'completed', reason = '', status_changed_at = clock_timestamp(), version = version + 1,
           finished_at = greatest(clock_timestamp(), started_at), output = p_text
     WHERE id = done_step AND status = 'running' RETURNING version INTO row_version;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'not the plain case' USING ERRCODE = 'NX001';
    END IF;
    result := workflows_open_ready(
        run, done_key, CASE WHEN p_claim THEN p_worker ELSE '' END, NULL, p_lease, p_deadline, p_ring);
    RETURN jsonb_set(result, '{hints}', jsonb_build_array(
        jsonb_build_array('step', done_step, row_version, 'running', 'completed')) || (result->'hints'))
        || jsonb_build_object('workflow', run);
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("workflows", "0002_storage")]
    operations = [
        migrations.RunSQL(JOB, "DROP FUNCTION workflows_job"),
        migrations.RunSQL(OPEN_READY, "DROP FUNCTION workflows_open_ready"),
        migrations.RunSQL(GO_ON, "DROP FUNCTION workflows_go_on"),
    ]
