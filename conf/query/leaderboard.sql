-- Every run: accuracy over graded problems with its 95 % interval (bootstrap over problems), net tokens per problem, and what it saved.
-- param runs = '%': only runs whose folder is LIKE this
-- param limit = 100: rows at most
SELECT run, s.method, s.model, s.problem_set, s.budget, s.problems, problems_graded AS graded, round(s.accuracy, 4) AS accuracy,
    round(accuracy_low, 3) AS low, round(accuracy_high, 3) AS high,
    round(s.tokens_net / s.problems)::BIGINT AS net_per_problem, round(saved, 4) AS saved, baseline
FROM savings s JOIN tokens USING (run) WHERE run LIKE $runs
ORDER BY s.accuracy DESC NULLS LAST, s.tokens_net / s.problems, run LIMIT $limit
