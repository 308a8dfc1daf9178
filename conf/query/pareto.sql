-- The runs that no other run of the same model and problem set beats in both accuracy and net tokens; of whole runs only,
-- simulated ones among themselves.
-- param runs = '%': only runs whose folder is LIKE this
WITH points AS (
    SELECT run, method, model, problem_set, budget, problems, accuracy, tokens_net / problems AS net, note
    FROM tokens WHERE run LIKE $runs AND accuracy IS NOT NULL AND coalesce(note, 'simulated') = 'simulated')
SELECT model, problem_set, run, method, budget, problems, round(accuracy, 4) AS accuracy, round(net)::BIGINT AS net_per_problem, note
FROM points p
WHERE NOT EXISTS (
    FROM points q WHERE q.model = p.model AND q.problem_set = p.problem_set AND q.note IS NOT DISTINCT FROM p.note AND q.accuracy >= p.accuracy AND q.net <= p.net
        AND (q.accuracy > p.accuracy OR q.net < p.net))
ORDER BY model, problem_set, net, run
