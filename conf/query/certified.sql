-- Which answers to trust: how many are certified to be the model's most frequent one, how often these and the others are right, and what
-- they took, by run. Only runs of methods that certify.
-- param runs = '%': only runs whose folder is LIKE this
SELECT run, method, count(*) AS problems, count(*) FILTER (certified) AS certified, round(avg(certified::INT), 4) AS share,
    round(avg(correct) FILTER (certified), 4) AS accuracy, round(avg(correct) FILTER (NOT certified), 4) AS accuracy_of_others,
    round(avg(traces_started) FILTER (certified), 1) AS traces, round(avg(traces_started) FILTER (NOT certified), 1) AS traces_of_others
FROM answers WHERE run LIKE $runs AND certified IS NOT NULL GROUP BY run, method ORDER BY share DESC, run
