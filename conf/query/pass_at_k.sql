-- pass@k: the chance that at least one of k traces is right, over all choices of k (unbiased; Chen et al. 2021), by run. Only runs whose
-- problems all finished their whole budget, as those of method=cons: what a rule stopped early is no fair sample.
-- param runs = '%': only runs whose folder is LIKE this
WITH whole AS (SELECT run, max(budget) AS num FROM answers WHERE run LIKE $runs AND status <> 'failed' GROUP BY run HAVING min(traces_finished) = max(budget)),
finished AS (
    SELECT run, problem_index, count(*) FILTER (correct = 1) AS num_right FROM traces JOIN whole USING (run) WHERE status = 'finished' GROUP BY ALL),
ks AS (SELECT run, num, unnest(list_sort(list_distinct([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, num]))) AS k FROM whole)
SELECT run, method, k, count(*) AS graded,
    round(avg(CASE WHEN status = 'failed' THEN 0 ELSE pass_at_k(num, num_right, k) END), 4) AS pass_at_k
FROM answers JOIN ks USING (run) LEFT JOIN finished USING (run, problem_index)
WHERE k <= num AND correct IS NOT NULL GROUP BY run, method, k ORDER BY run, k
