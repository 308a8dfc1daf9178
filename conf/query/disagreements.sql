-- Problems that some runs have right and others wrong, with what each kind answered.
-- param runs = '%': only runs whose folder is LIKE this
SELECT problem_set, problem_id, any_value(gold) AS gold, sum(correct)::INT AS runs_right, count(*) AS runs,
    list(DISTINCT answer ORDER BY answer) FILTER (correct = 0 AND answer IS NOT NULL) AS wrong_answers,
    list(DISTINCT method ORDER BY method) FILTER (correct = 1) AS methods_right,
    list(DISTINCT method ORDER BY method) FILTER (correct = 0) AS methods_wrong
FROM answers WHERE run LIKE $runs AND correct IS NOT NULL
GROUP BY problem_set, problem_id HAVING min(correct) < max(correct)
ORDER BY abs(avg(correct) - 0.5), problem_set, problem_id
