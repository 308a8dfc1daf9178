-- How often pairs agree by what the judge said of them, over pairs whose traces both finished with an answer. A pair agrees when the
-- answers are equal (vote together) or both are right.
-- param runs = '%': only runs whose folder is LIKE this
-- param bins = 5: parts of [0, 1] that scores are put into
WITH finished AS MATERIALIZED (
    SELECT run, problem_index, trace_index, answer, answer_key, correct FROM traces
    WHERE run LIKE $runs AND status = 'finished' AND answer IS NOT NULL
        AND run IN (SELECT run FROM tokens WHERE judge_verdicts > 0)),
lefts AS MATERIALIZED (  -- One side at a time: joining both traces of a problem first would make all pairs of them.
    SELECT v.run, v.problem_index, v.right_trace, v.score, l.answer, l.answer_key, l.correct
    FROM verdicts v JOIN finished l ON l.run = v.run AND l.problem_index = v.problem_index AND l.trace_index = v.left_trace
    WHERE v.run LIKE $runs AND v.score IS NOT NULL),
pairs AS (
    SELECT l.run, l.score, (coalesce(l.answer_key = r.answer_key, l.answer = r.answer)
        OR coalesce(l.correct = 1 AND r.correct = 1, false))::INT AS same
    FROM lefts l JOIN finished r ON r.run = l.run AND r.problem_index = l.problem_index AND r.trace_index = l.right_trace)
SELECT run, least(floor(score * $bins), $bins - 1) / $bins AS score_from, count(*) AS pairs, round(avg(score), 3) AS mean_score,
    round(avg(same), 3) AS agree
FROM pairs GROUP BY run, score_from ORDER BY run, score_from
