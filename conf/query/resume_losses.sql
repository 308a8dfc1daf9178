-- What stops and kills cost each run: attempts by how they ended, tokens lost, and their share of all that was sampled.
-- param runs = '%': only runs whose folder is LIKE this
SELECT run, count(DISTINCT shard) AS shards, count(*) AS attempts, count(*) FILTER (end_reason = 'interrupted') AS interrupted,
    count(*) FILTER (end_reason = 'killed') AS killed, count(*) FILTER (end_reason = 'failed') AS failed,
    coalesce(sum(discarded_tokens), 0)::BIGINT AS tokens_discarded,
    count(*) FILTER (ended_at IS NOT NULL AND discarded_tokens IS NULL) AS loss_unknown,
    round(coalesce(sum(discarded_tokens), 0) / nullif(sum(tokens_sampled) + coalesce(sum(discarded_tokens), 0), 0), 4) AS lost_share,
    round(sum(load_s), 1) AS load_s, round(sum(work_s), 1) AS work_s, round(sum(commit_s), 1) AS commit_s
FROM attempts WHERE run LIKE $runs GROUP BY run ORDER BY tokens_discarded DESC, attempts DESC, run
