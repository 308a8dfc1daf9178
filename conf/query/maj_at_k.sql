-- maj@k: how often the plain vote of k traces is right, over all choices of k (exact and unbiased), by run; of t answers that lead together,
-- each counts 1/t. Only runs whose problems all finished their whole budget, as those of method=cons.
-- param runs = '%': only runs whose folder is LIKE this
WITH whole AS (SELECT run, max(budget) AS num FROM answers WHERE run LIKE $runs AND status <> 'failed' GROUP BY run HAVING min(traces_finished) = max(budget)),
given AS (
    SELECT run, problem_index, coalesce(answer_key, answer) AS answer, count(*) AS votes, max(correct) = 1 AS is_right
    FROM traces JOIN whole USING (run) WHERE status = 'finished' AND answer IS NOT NULL GROUP BY ALL),
votes AS (
    SELECT run, problem_index, list(votes ORDER BY answer) AS counts, list(is_right ORDER BY answer) AS rights FROM given GROUP BY ALL),
ks AS (SELECT run, num, unnest(list_sort(list_distinct([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, num]))) AS k FROM whole)
SELECT run, method, k, count(*) AS graded,
    round(avg(CASE WHEN counts IS NULL THEN 0 ELSE maj_at_k(counts, rights, num, k) END), 4) AS maj_at_k
FROM answers JOIN ks USING (run) LEFT JOIN votes USING (run, problem_index)
WHERE k <= num AND correct IS NOT NULL GROUP BY run, method, k ORDER BY run, k
