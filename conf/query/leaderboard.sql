-- Every run: accuracy over graded problems with its 95 % interval (bootstrap over problems), net tokens per problem, what it saved, and how
-- many finished traces were cut off or gave no answer. Ranked among whole runs of one model and problem set, `=` where several are as
-- accurate; unfinished runs, runs with failed problems and simulated ones have a note, stand behind, and are not ranked.
-- param runs = '%': only runs whose folder is LIKE this
-- param limit = 100: rows at most
WITH placed AS (
    SELECT run, rank() OVER peers AS place, count(*) OVER (PARTITION BY s.model, s.problem_set, s.accuracy) AS equals
    FROM tokens s WHERE note IS NULL AND accuracy IS NOT NULL AND run LIKE $runs
    WINDOW peers AS (PARTITION BY s.model, s.problem_set ORDER BY s.accuracy DESC))
SELECT place || CASE WHEN equals > 1 THEN ' =' ELSE '' END AS rank, run, note, s.method, s.model, s.problem_set, s.budget, s.problems,
    problems_graded AS graded, round(s.accuracy, 4) AS accuracy,
    round(accuracy_low, 3) AS low, round(accuracy_high, 3) AS high,
    round(s.tokens_net / s.problems)::BIGINT AS net_per_problem, round(saved, 4) AS saved, baseline, traces_cut AS cut,
    traces_unanswered AS unanswered
FROM savings s JOIN tokens USING (run) LEFT JOIN placed USING (run) WHERE run LIKE $runs
ORDER BY note IS NOT NULL, s.accuracy DESC NULLS LAST, s.tokens_net / s.problems, run LIMIT $limit
