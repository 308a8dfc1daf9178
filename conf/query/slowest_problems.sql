-- The problems that took longest, from opening to answer.
-- param runs = '%': only runs whose folder is LIKE this
-- param limit = 20: rows at most
SELECT run, problem_id, round(wall_s, 1) AS wall_s, round(gpu_seconds, 1) AS gpu_seconds, traces_started, tokens_sampled,
    judge_calls, attempts, status
FROM answers WHERE run LIKE $runs ORDER BY wall_s DESC, run, problem_id LIMIT $limit
