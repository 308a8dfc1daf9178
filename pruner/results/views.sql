-- Views over all runs under outputs/. Use them with the `duckdb` program (duckdb -init outputs/views.sql) or with
-- `python -m jobs.query "SELECT ..."`, from the folder that holds outputs/. Columns: pruner/records/schemas.py, or
-- `python -m jobs.query --columns`. A column that a run of an older schema version lacks is null in its rows.

{columns}

-- One row per run, from its run.json. Runs with one `setting` sampled the same problems with the same model, budget and seed; method,
-- judge and prefix may differ.
CREATE OR REPLACE VIEW runs AS
SELECT * FROM columns_runs UNION ALL BY NAME
SELECT parse_path(filename)[-2] AS run, written->>'method' AS method, written->>'model' AS model, TRY_CAST(written->>'budget' AS INTEGER) AS budget,
    TRY_CAST(written->>'seed' AS BIGINT) AS seed, TRY_CAST(written->>'shard_count' AS INTEGER) AS shard_count,
    TRY_CAST(written->>'created_at' AS TIMESTAMPTZ) AS created_at, TRY_CAST(written->>'schema_version' AS INTEGER) AS schema_version,
    md5(list_filter(
        map_entries(TRY(from_json(written->'identity', '"MAP(VARCHAR, VARCHAR)"'))),
        lambda entry: NOT regexp_matches(entry.key,
            '^(method|judge|prefix|accounting|fingerprint\.(judge|adapter)|model\.(probe|prefix_tokens|typical_tokens)|sampler\.cache_block_tokens)($|\.)'))::VARCHAR) AS setting,
    written->'config' AS config, TRY_CAST(written->>'problems' AS BIGINT) AS problems_total, written->'config'->'sampler'->>'name' AS sampler
FROM (SELECT filename, TRY_CAST(content AS JSON) AS written FROM read_text('outputs/*/run.json')) WHERE written IS NOT NULL;

CREATE OR REPLACE VIEW answers AS
SELECT * FROM columns_answers UNION ALL BY NAME
SELECT parse_path(filename)[-3] AS run, * EXCLUDE (filename)
FROM read_parquet('outputs/*/answers/*.parquet', union_by_name = true, filename = true, hive_partitioning = false);

CREATE OR REPLACE VIEW traces AS
SELECT * REPLACE (
    CASE WHEN reasoning_chars IS NOT NULL THEN regexp_replace(left(text, reasoning_chars), '^\s*<think>\s*', '') END AS reasoning,
    CASE WHEN response_start IS NOT NULL THEN substr(text, response_start + 1) END AS response)
FROM (
SELECT * FROM columns_traces UNION ALL BY NAME
SELECT parse_path(filename)[-3] AS run, * EXCLUDE (filename)
FROM read_parquet('outputs/*/traces/*.parquet', union_by_name = true, filename = true, hive_partitioning = false));

CREATE OR REPLACE VIEW verdicts AS
SELECT * FROM columns_verdicts UNION ALL BY NAME
SELECT parse_path(filename)[-3] AS run, * EXCLUDE (filename)
FROM read_parquet('outputs/*/verdicts/*.parquet', union_by_name = true, filename = true, hive_partitioning = false);

CREATE OR REPLACE VIEW probes AS
SELECT * FROM columns_probes UNION ALL BY NAME
SELECT parse_path(filename)[-3] AS run, * EXCLUDE (filename)
FROM read_parquet('outputs/*/probes/*.parquet', union_by_name = true, filename = true, hive_partitioning = false);

CREATE OR REPLACE VIEW attempts AS
SELECT * FROM columns_attempts UNION ALL BY NAME
SELECT parse_path(filename)[-3] AS run, parse_path(filename)[-1] AS shard, * EXCLUDE (filename)
FROM read_parquet('outputs/*/attempts/*.parquet', union_by_name = true, filename = true, hive_partitioning = false);

-- One row per run: where its tokens and GPU-seconds went, over finished problems, and what that cost.
CREATE OR REPLACE VIEW tokens AS
WITH sums AS (
    SELECT run, any_value(method) AS method, any_value(model) AS model, any_value(problem_set) AS problem_set,
        any_value(judge) AS judge, any_value(budget) AS budget, any_value(seed) AS seed, count(*) AS problems,
        count(*) FILTER (status = 'answered') AS answered, count(*) FILTER (status = 'no_answer') AS no_answer,
        count(*) FILTER (status = 'failed') AS failed, count(correct) AS problems_graded, sum(correct)::BIGINT AS problems_right,
        avg(single_accuracy) AS single_accuracy,
        CASE WHEN count(certified) > 0 THEN count(*) FILTER (certified) END AS problems_certified,
        coalesce(sum(traces_speculative), 0)::BIGINT AS traces_speculative,
        coalesce(sum(tokens_speculative), 0)::BIGINT AS tokens_speculative,
        sum(traces_started)::BIGINT AS traces_started, sum(traces_finished)::BIGINT AS traces_finished,
        sum(traces_pruned)::BIGINT AS traces_pruned, sum(traces_cut)::BIGINT AS traces_cut,
        sum(traces_unanswered)::BIGINT AS traces_unanswered, sum(traces_cut_unanswered)::BIGINT AS traces_cut_unanswered,
        count(*) FILTER (votes_tied > 1) AS problems_tied, sum(tokens_sampled)::BIGINT AS tokens_sampled,
        sum(tokens_prefix)::BIGINT AS tokens_prefix, sum(tokens_continued)::BIGINT AS tokens_continued,
        sum(tokens_finished)::BIGINT AS tokens_finished, sum(tokens_pruned)::BIGINT AS tokens_pruned,
        sum(judge_calls)::BIGINT AS judge_calls, sum(judge_probes)::BIGINT AS judge_probes,
        sum(judge_verdicts)::BIGINT AS judge_verdicts, sum(judge_verdicts_missing)::BIGINT AS judge_verdicts_missing,
        sum(tokens_judge_prompt)::BIGINT AS tokens_judge_prompt, sum(tokens_judge_cached)::BIGINT AS tokens_judge_cached,
        sum(tokens_judge_output)::BIGINT AS tokens_judge_output, sum(tokens_net) AS tokens_net
    FROM answers GROUP BY run),
sources AS (  -- One row per problem with a gold answer, repetitions of a problem together; those are what chance has drawn.
    SELECT run, avg(correct) AS correct, row_number() OVER (PARTITION BY run ORDER BY min(problem_index)) - 1 AS place,
        count(*) OVER (PARTITION BY run) AS num
    FROM answers WHERE correct IS NOT NULL GROUP BY run, coalesce(source_problem_id, problem_id)),
-- The bootstrap of pruner/statistics/intervals.py, draw for draw: 95 % of the means of resampled problems.
draws AS (
    SELECT run, num, unnest(range(num * least(1000, greatest(200, 4000000 // num)))) AS number
    FROM (SELECT DISTINCT run, num FROM sources)),
mixed AS (SELECT run, num, number, (xor(number, number >> 16) * 73244475) & 4294967295 AS once FROM draws),
mixed_twice AS (SELECT run, num, number, (xor(once, once >> 16) * 73244475) & 4294967295 AS twice FROM mixed),
resampled AS (
    SELECT run, number // mixed_twice.num AS draw, avg(correct) AS accuracy
    FROM mixed_twice JOIN sources USING (run) WHERE place = xor(twice, twice >> 16) % mixed_twice.num GROUP BY ALL),
intervals AS (
    SELECT run, quantile_cont(accuracy, 0.025) AS accuracy_low, quantile_cont(accuracy, 0.975) AS accuracy_high
    FROM resampled GROUP BY run),
accuracies AS (SELECT run, avg(correct) AS accuracy FROM sources GROUP BY run),
lifetimes AS (
    SELECT run, count(*) AS attempts, sum(discarded_tokens)::BIGINT AS tokens_discarded,
        count(*) FILTER (ended_at IS NOT NULL AND discarded_tokens IS NULL) AS attempts_discarded_unknown,
        sum(sampler_gpus * epoch(ended_at - started_at)) AS sampler_s, sum(judge_gpus * epoch(ended_at - started_at)) AS judge_s,
        sum(load_s) AS load_s, sum(coalesce(work_s, epoch(ended_at - started_at))) AS work_s, min(started_at) AS started_at,
        max(ended_at) AS ended_at
    FROM attempts GROUP BY run),
ends AS (
    SELECT run, count(*) FILTER (last_end = 'done') AS shards_done
    FROM (SELECT run, shard, arg_max(coalesce(end_reason, ''), attempt) AS last_end FROM attempts GROUP BY ALL) GROUP BY run),
prices AS (
    SELECT run, TRY_CAST(config->'accounting'->>'judge_prompt_weight' AS DOUBLE) AS judge_prompt_weight,
        TRY_CAST(config->'accounting'->>'judge_cached_weight' AS DOUBLE) AS judge_cached_weight,
        TRY_CAST(config->'accounting'->>'judge_output_weight' AS DOUBLE) AS judge_output_weight,
        TRY_CAST(config->'accounting'->>'price_per_gpu_hour' AS DOUBLE) AS per_gpu_hour,
        TRY_CAST(config->'accounting'->>'price_per_million_tokens' AS DOUBLE) AS per_million,
        TRY_CAST(config->'method'->>'delta' AS DOUBLE) AS delta,
        coalesce(TRY_CAST(config->'accounting'->>'speculative_weight' AS DOUBLE), 1) AS speculative_weight,
        problems_total, shard_count, sampler
    FROM runs),
shared AS (  -- On one engine, the judge's part of the GPUs' time is its part of the weighted tokens.
    SELECT *, coalesce(1 - (tokens_sampled + speculative_weight * tokens_speculative) / nullif(tokens_net, 0), 0) AS judge_part
    FROM sums LEFT JOIN lifetimes USING (run) LEFT JOIN prices USING (run) LEFT JOIN ends USING (run))
SELECT run, method, model, problem_set, judge, budget, seed, problems, accuracy,
    * EXCLUDE (run, method, model, problem_set, judge, budget, seed, problems, accuracy, accuracy_low, accuracy_high,
        sampler_s, judge_s, judge_part, per_gpu_hour, per_million, problems_certified, delta, traces_speculative,
        tokens_speculative, speculative_weight, traces_cut, traces_unanswered, traces_cut_unanswered, problems_tied, problems_total,
        shard_count, shards_done, sampler, load_s, work_s, started_at, ended_at),
    CASE WHEN judge_s > 0 THEN sampler_s ELSE sampler_s * (1 - judge_part) END AS gpu_seconds_sampler,
    CASE WHEN judge_s > 0 THEN judge_s ELSE sampler_s * judge_part END AS gpu_seconds_judge,
    CASE WHEN per_gpu_hour IS NOT NULL THEN 'GPU hours' WHEN per_million IS NOT NULL THEN 'net tokens' END AS cost_basis,
    coalesce(per_gpu_hour * (sampler_s + judge_s) / 3600, per_million * (tokens_net + coalesce(tokens_discarded, 0)) / 1e6) AS cost,
    accuracy_low, accuracy_high, problems_certified, CASE WHEN problems_certified IS NOT NULL THEN delta END AS delta,
    traces_speculative, tokens_speculative, speculative_weight, traces_cut, traces_unanswered, traces_cut_unanswered, problems_tied,
    problems_total, shard_count, coalesce(shards_done, 0) AS shards_done, sampler, load_s, work_s, started_at, ended_at,
    nullif(concat_ws(', ',
        CASE WHEN sampler = 'simulated' THEN 'simulated' END,
        CASE WHEN problems < problems_total THEN problems || ' of ' || problems_total || ' problems'
            WHEN problems_total IS NULL AND shards_done < shard_count THEN shards_done || ' of ' || shard_count || ' shards' END,
        CASE WHEN failed > 0 THEN failed || ' failed' END), '') AS note
FROM shared LEFT JOIN accuracies USING (run) LEFT JOIN intervals USING (run);

-- One row per run: its net tokens against finishing every trace. `measured` by a run of method=cons with the same setting that has all
-- problems which this run has finished, else an `estimate` from its own finished traces, else `none` (nothing to compare with).
CREATE OR REPLACE VIEW savings AS
WITH each AS MATERIALIZED (
    SELECT run, problem_id, source_problem_id, method, model, problem_set, judge, budget, seed, correct, tokens_sampled, tokens_net, tokens_unpruned_estimate
    FROM answers),
settings AS MATERIALIZED (SELECT run, method, setting FROM runs),
compared AS (
    SELECT a.run, b.run AS baseline_run, count(*) AS problems, sum(b.tokens_net) AS tokens_baseline,
        avg(b.correct) AS accuracy_baseline
    FROM each a JOIN settings r ON r.run = a.run AND r.method <> 'cons'
        JOIN settings s ON s.setting = r.setting AND s.method = 'cons'
        JOIN each b ON b.run = s.run AND b.problem_id = a.problem_id
    GROUP BY ALL),
sums AS (
    SELECT run, any_value(method) AS method, any_value(model) AS model, any_value(problem_set) AS problem_set,
        any_value(judge) AS judge, any_value(budget) AS budget, any_value(seed) AS seed, count(*) AS problems,
        sum(tokens_sampled)::BIGINT AS tokens_sampled, sum(tokens_net) AS tokens_net,
        sum(tokens_unpruned_estimate) FILTER (method <> 'cons') AS tokens_estimate,
        sum(tokens_net) FILTER (tokens_unpruned_estimate IS NOT NULL) AS tokens_known
    FROM each GROUP BY run),
accuracies AS (
    SELECT run, avg(correct) AS accuracy
    FROM (SELECT run, avg(correct) AS correct FROM each GROUP BY run, coalesce(source_problem_id, problem_id)) GROUP BY run),
measured AS (
    SELECT c.run, min_by(struct_pack(baseline_run, tokens_baseline, accuracy_baseline), baseline_run) AS found
    FROM compared c JOIN sums t ON t.run = c.run AND t.problems = c.problems GROUP BY c.run)
SELECT run, method, model, problem_set, judge, budget, seed, problems, accuracy, tokens_sampled, tokens_net,
    CASE WHEN found IS NOT NULL THEN 'measured' WHEN tokens_estimate IS NOT NULL THEN 'estimate' ELSE 'none' END AS baseline,
    found.baseline_run AS baseline_run, found.accuracy_baseline AS accuracy_baseline,
    coalesce(found.tokens_baseline, tokens_estimate) AS tokens_baseline,
    CASE WHEN found IS NOT NULL THEN 1 - tokens_net / nullif(found.tokens_baseline, 0)
        ELSE 1 - tokens_known / nullif(tokens_estimate, 0) END AS saved
FROM sums LEFT JOIN accuracies USING (run) LEFT JOIN measured USING (run);
