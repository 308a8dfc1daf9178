-- What k traces are worth, over all choices of k (exact and unbiased), by run. pass@k: the chance that at least one is right (Chen et al. 2021).
-- maj@k: how often their plain vote is right; of t answers that lead together, each counts 1/t. Only runs whose problems all finished their whole
-- budget, as those of method=cons: what a rule stopped early is no fair sample. At most 1,000 traces per problem.
-- param runs = '%': only runs whose folder is LIKE this
WITH whole AS (
    SELECT run, max(budget) AS num FROM answers WHERE run LIKE $runs AND status <> 'failed'
    GROUP BY run HAVING min(traces_finished) = max(budget) AND max(budget) <= 1000),
given AS (  -- As in a run's own vote, an answer is as right as its first trace.
    SELECT run, problem_index, coalesce(answer_key, answer) AS answer, count(*) AS votes, count(*) FILTER (correct = 1) AS num_right,
        arg_min(correct, trace_index) = 1 AS is_right
    FROM traces JOIN whole USING (run) WHERE status = 'finished' AND answer IS NOT NULL GROUP BY ALL),
votes AS (
    SELECT run, problem_index, list(votes ORDER BY answer) AS counts, list(is_right ORDER BY answer) AS rights,
        sum(num_right)::BIGINT AS num_right
    FROM given GROUP BY ALL),
ks AS (SELECT run, num, unnest(list_sort(list_distinct([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, num]))) AS k FROM whole)
SELECT run, method, k::INT AS k, count(*) AS graded,
    round(avg(CASE WHEN counts IS NULL THEN 0 ELSE pass_at_k(num, num_right, k) END), 4) AS pass_at_k,
    round(avg(CASE WHEN counts IS NULL THEN 0 ELSE maj_at_k(counts, rights, num, k) END), 4) AS maj_at_k,
    round(avg(tokens_sampled * k / num))::BIGINT AS tokens_per_problem
FROM answers JOIN ks USING (run) LEFT JOIN votes USING (run, problem_index)
WHERE k <= num AND correct IS NOT NULL GROUP BY run, method, k ORDER BY run, k
