-- Views over all runs under outputs/. Use them with the `duckdb` program (duckdb -init outputs/views.sql) or with
-- `python -m jobs.query "SELECT ..."`, from the folder that holds outputs/. Columns: pruner/schemas.py.

CREATE OR REPLACE VIEW runs AS
SELECT run, method, model, budget, seed, shard_count, created_at, schema_version, config
FROM read_json('outputs/*/run.json', union_by_name = true, maximum_object_size = 67108864,
    columns = {run: 'VARCHAR', method: 'VARCHAR', model: 'VARCHAR', budget: 'INTEGER', seed: 'BIGINT',
        shard_count: 'INTEGER', created_at: 'TIMESTAMPTZ', schema_version: 'INTEGER', config: 'JSON'});

CREATE OR REPLACE VIEW answers AS
SELECT parse_path(filename)[-3] AS run, * EXCLUDE (filename)
FROM read_parquet('outputs/*/answers/*.parquet', union_by_name = true, filename = true, hive_partitioning = false);

CREATE OR REPLACE VIEW traces AS
SELECT parse_path(filename)[-3] AS run, * EXCLUDE (filename)
FROM read_parquet('outputs/*/traces/*.parquet', union_by_name = true, filename = true, hive_partitioning = false);

CREATE OR REPLACE VIEW verdicts AS
SELECT parse_path(filename)[-3] AS run, * EXCLUDE (filename)
FROM read_parquet('outputs/*/verdicts/*.parquet', union_by_name = true, filename = true, hive_partitioning = false);

CREATE OR REPLACE VIEW probes AS
SELECT parse_path(filename)[-3] AS run, * EXCLUDE (filename)
FROM read_parquet('outputs/*/probes/*.parquet', union_by_name = true, filename = true, hive_partitioning = false);

CREATE OR REPLACE VIEW attempts AS
SELECT parse_path(filename)[-3] AS run, parse_path(filename)[-1] AS shard, * EXCLUDE (filename)
FROM read_parquet('outputs/*/attempts/*.parquet', union_by_name = true, filename = true, hive_partitioning = false);

-- One row a run: where its tokens went.
CREATE OR REPLACE VIEW tokens AS
SELECT run, any_value(method) AS method, any_value(model) AS model, any_value(budget) AS budget, count(*) AS problems,
    avg(correct) AS accuracy, sum(tokens_sampled)::BIGINT AS tokens_sampled, sum(tokens_prefix)::BIGINT AS tokens_prefix,
    sum(tokens_continued)::BIGINT AS tokens_continued, sum(tokens_finished)::BIGINT AS tokens_finished,
    sum(tokens_pruned)::BIGINT AS tokens_pruned, sum(tokens_judge_prompt)::BIGINT AS tokens_judge_prompt,
    sum(tokens_judge_cached)::BIGINT AS tokens_judge_cached, sum(tokens_judge_output)::BIGINT AS tokens_judge_output,
    sum(tokens_net) AS tokens_net
FROM answers GROUP BY run;
