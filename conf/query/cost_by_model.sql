-- Tokens, GPU hours and estimated cost by model and method. The price is the runs' own (accounting.price_*), or these parameters.
-- param price_per_gpu_hour = null: instead of the runs' own price
-- param price_per_million_tokens = null: of net and discarded tokens, instead of the runs' own price
SELECT model, method, count(*) AS runs, sum(problems)::BIGINT AS problems, sum(tokens_sampled)::BIGINT AS tokens_sampled,
    sum(tokens_net)::BIGINT AS tokens_net, sum(tokens_discarded)::BIGINT AS tokens_discarded,
    round(sum(gpu_seconds_sampler) / 3600, 3) AS gpu_hours_sampler, round(sum(gpu_seconds_judge) / 3600, 3) AS gpu_hours_judge,
    round(sum(coalesce(
        $price_per_gpu_hour::DOUBLE * (gpu_seconds_sampler + gpu_seconds_judge) / 3600,
        $price_per_million_tokens::DOUBLE * (tokens_net + coalesce(tokens_discarded, 0)) / 1e6, cost)), 4) AS cost
FROM tokens GROUP BY model, method ORDER BY cost DESC NULLS LAST, tokens_net DESC, model, method
