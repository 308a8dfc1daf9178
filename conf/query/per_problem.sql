-- Every problem: how many runs have it right, how sure their votes were, and what it cost. Hardest first.
-- param runs = '%': only runs whose folder is LIKE this
-- param limit = 1000: rows at most
SELECT problem_set, problem_id, any_value(gold) AS gold, count(*) AS runs, sum(correct)::INT AS runs_right,
    round(avg(votes / nullif(votes_total, 0)), 3) AS vote_share, round(avg(single_accuracy), 3) AS single_accuracy,
    round(avg(clusters), 1) AS clusters, round(avg(tokens_sampled))::BIGINT AS tokens_sampled,
    round(avg(tokens_net))::BIGINT AS tokens_net, sum(traces_cut)::BIGINT AS cut,
    sum(traces_unanswered)::BIGINT AS traces_unanswered, count(*) FILTER (votes_tied > 1) AS tied, count(*) FILTER (status <> 'answered') AS unanswered
FROM answers WHERE run LIKE $runs
GROUP BY problem_set, problem_id ORDER BY avg(correct) NULLS LAST, tokens_net DESC, problem_id LIMIT $limit
