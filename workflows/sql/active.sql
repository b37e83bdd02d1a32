-- What nyxcore_active shows of workflows: active runs, then open attempts. Columns as in nyxcore/sqlview.py.
SELECT 'workflow', 'run', w.id, w.name, u.username, NULL::bigint, NULL::text, NULL::bigint, NULL::integer,
       w.status, w.reason, '', h.username, w.status_changed_at,
       extract(epoch FROM clock_timestamp() - w.status_changed_at)::bigint,
       NULL::timestamptz, NULL::bigint, NULL::bigint, NULL::timestamptz, '', '/workflows/' || w.id || '/'
  FROM workflows_workflow w
  JOIN auth_user u ON u.id = w.owner_id
  LEFT JOIN auth_user h ON h.id = w.held_by_id
 WHERE w.status IN ('running', 'paused')
UNION ALL
SELECT 'workflow', 'attempt', w.id, w.name, u.username, s.id, s.title, a.id, a.number,
       a.status, a.reason, a.worker, h.username, CASE a.status WHEN 'pending' THEN a.queued_at ELSE a.started_at END,
       extract(epoch FROM clock_timestamp() - CASE a.status WHEN 'pending' THEN a.queued_at ELSE a.started_at END)::bigint,
       a.heartbeat_at, extract(epoch FROM clock_timestamp() - a.heartbeat_at)::bigint,
       extract(epoch FROM a.due_at - clock_timestamp())::bigint, a.deadline_at, a.error,
       '/workflows/' || w.id || '/#step-' || s.id
  FROM workflows_stepattempt a
  JOIN workflows_step s ON s.id = a.step_id
  JOIN workflows_workflow w ON w.id = s.workflow_id
  JOIN auth_user u ON u.id = w.owner_id
  LEFT JOIN auth_user h ON h.id = w.held_by_id
 WHERE a.status IN ('pending', 'running', 'waiting')
