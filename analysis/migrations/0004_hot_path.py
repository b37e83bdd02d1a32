"""The hot path in the database: what a claimed unit needs, and the end of one that changes nothing but itself, each in
one round trip. See analysis/hotpath.py. It writes only what the edge tables allow; the same triggers guard it.
"""

from django.db import migrations

JOB = """
-- What a worker needs of an attempt, its unit and its run; texts and large columns are read where they are wanted.
CREATE FUNCTION analysis_job(p_attempt bigint) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'attempt', jsonb_build_object(
            'id', a.id, 'unit_id', a.unit_id, 'kind', a.kind, 'number', a.number, 'cause', a.cause,
            'caused_by_id', a.caused_by_id, 'max_tokens', a.max_tokens),
        'unit', jsonb_build_object(
            'id', u.id, 'run_id', u.run_id, 'kind', u.kind, 'key', u.key, 'analyzer', u.analyzer, 'title', u.title,
            'position', u.position, 'chunk', u.chunk, 'tokens', u.tokens, 'parent_id', u.parent_id),
        'run', jsonb_build_object(
            'id', r.id, 'owner_id', r.owner_id, 'name', r.name, 'source_kind', r.source_kind, 'location', r.location,
            'ref', r.ref, 'sub_path', r.sub_path, 'source_key', r.source_key, 'upload_id', r.upload_id,
            'commit', r.commit, 'tree', r.tree, 'options', r.options, 'marker', r.marker, 'overview', r.overview,
            'overview_key', r.overview_key, 'previous_id', r.previous_id))
      FROM analysis_unitattempt a
      JOIN analysis_unit u ON u.id = a.unit_id
      JOIN analysis_analysisrun r ON r.id = u.run_id
     WHERE a.id = p_attempt
$$;
"""

END = """
-- Ends the attempt that `p_worker` holds as completed, and its unit with it. `ended` is null where it is not held any
-- more, else the unit's version; `more` tells whether units of that kind wait to be opened.
CREATE FUNCTION analysis_end(p_attempt bigint, p_worker text, p_result jsonb, OUT ended integer, OUT more boolean)
LANGUAGE plpgsql AS $$
DECLARE
    done bigint;
BEGIN
    UPDATE analysis_unitattempt
       SET status = 'completed', reason = '', status_changed_at = clock_timestamp(), version = version + 1,
           finished_at = greatest(clock_timestamp(), started_at), due_at = NULL, error = '', reserved = NULL
     WHERE id = p_attempt AND status = 'running' AND worker = p_worker RETURNING unit_id INTO done;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE analysis_unit
       SET status = 'completed', reason = '', status_changed_at = clock_timestamp(), version = version + 1,
           finished_at = greatest(clock_timestamp(), started_at), result = p_result
     WHERE id = done AND status = 'running' RETURNING version INTO ended;
    more := EXISTS (
        SELECT FROM analysis_unit u JOIN analysis_unit other ON other.run_id = u.run_id AND other.kind = u.kind
         WHERE u.id = done AND other.status = 'pending');
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("analysis", "0003_unit_indexes")]
    operations = [
        migrations.RunSQL(JOB, "DROP FUNCTION analysis_job"),
        migrations.RunSQL(END, "DROP FUNCTION analysis_end"),
    ]
