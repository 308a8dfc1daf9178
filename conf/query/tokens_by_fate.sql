-- Where each run's tokens went, by what became of the trace and by when they were sampled; shares of all sampled.
-- param runs = '%': only runs whose folder is LIKE this
SELECT run, problems, traces_started AS traces, traces_pruned AS pruned, traces_cut AS cut,
    traces_unanswered AS unanswered, tokens_sampled,
    round(tokens_finished / nullif(tokens_sampled, 0), 3) AS in_finished, round(tokens_pruned / nullif(tokens_sampled, 0), 3) AS in_pruned,
    round(tokens_prefix / nullif(tokens_sampled, 0), 3) AS in_prefixes, tokens_discarded,
    tokens_judge_output AS judge_sampled, tokens_judge_prompt - tokens_judge_cached AS judge_read,
    tokens_judge_cached AS judge_read_before, round(tokens_net)::BIGINT AS tokens_net
FROM tokens WHERE run LIKE $runs ORDER BY tokens_net DESC, run
