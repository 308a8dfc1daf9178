-- Problems without an answer and why, and attempts that ended by a fault.
-- param runs = '%': only runs whose folder is LIKE this
SELECT run, 'problem ' || problem_id AS what, status, failure AS message FROM answers WHERE run LIKE $runs AND status <> 'answered'
UNION ALL BY NAME
SELECT run, 'attempt ' || attempt || ' of ' || shard AS what, end_reason AS status, message FROM attempts
WHERE run LIKE $runs AND end_reason = 'failed'
ORDER BY run, what
