-- What nyxcore_active shows of analyses: active runs, then open attempts. Columns as in nyxcore/sqlview.py.
SELECT 'analysis', 'run', r.id, r.name, u.username, NULL::bigint, NULL::text, NULL::bigint, NULL::integer,
       r.status, r.reason, '', h.username, r.status_changed_at,
       extract(epoch FROM clock_timestamp() - r.status_changed_at)::bigint,
       NULL::timestamptz, NULL::bigint, NULL::bigint, NULL::timestamptz, '', '/analysis/' || r.id || '/'
  FROM analysis_analysisrun r
  JOIN auth_user u ON u.id = r.owner_id
  LEFT JOIN auth_user h ON h.id = r.held_by_id
 WHERE r.status IN ('scanning', 'analyzing', 'generating', 'waiting', 'paused')
UNION ALL
SELECT 'analysis', 'attempt', r.id, r.name, u.username, i.id, i.title, a.id, a.number,
       a.status, a.reason, a.worker, h.username, CASE a.status WHEN 'pending' THEN a.queued_at ELSE a.started_at END,
       extract(epoch FROM clock_timestamp() - CASE a.status WHEN 'pending' THEN a.queued_at ELSE a.started_at END)::bigint,
       a.heartbeat_at, extract(epoch FROM clock_timestamp() - a.heartbeat_at)::bigint,
       extract(epoch FROM a.due_at - clock_timestamp())::bigint, a.deadline_at, a.error,
       '/analysis/' || r.id || '/'
  FROM analysis_unitattempt a
  JOIN analysis_unit i ON i.id = a.unit_id
  JOIN analysis_analysisrun r ON r.id = i.run_id
  JOIN auth_user u ON u.id = r.owner_id
  LEFT JOIN auth_user h ON h.id = r.held_by_id
 WHERE a.status IN ('pending', 'running', 'waiting')
