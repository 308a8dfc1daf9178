-- Every run: accuracy with its 95 % interval (Wilson), net tokens a problem, and what it saved against which baseline.
-- param runs = '%': only runs whose folder is LIKE this
-- param limit = 100: rows at most
SELECT run, method, model, problem_set, budget, problems, round(accuracy, 4) AS accuracy,
    round(greatest(0, accuracy + 1.92 / problems - 1.96 * sqrt(accuracy * (1 - accuracy) / problems + 0.96 / problems ** 2))
        / (1 + 3.84 / problems), 3) AS low,
    round((accuracy + 1.92 / problems + 1.96 * sqrt(accuracy * (1 - accuracy) / problems + 0.96 / problems ** 2))
        / (1 + 3.84 / problems), 3) AS high,
    round(tokens_net / problems)::BIGINT AS net_per_problem, round(saved, 4) AS saved, baseline
FROM savings WHERE run LIKE $runs
ORDER BY accuracy DESC NULLS LAST, tokens_net / problems, run LIMIT $limit
