-- How redundant traces were: clusters per problem, the largest one's share of the clustered traces, and how often it decided rightly.
-- param runs = '%': only runs whose folder is LIKE this
SELECT run, count(*) AS problems, round(avg(clusters), 2) AS clusters, max(clusters) AS most,
    round(avg(cluster_sizes[1] / nullif(list_sum(cluster_sizes), 0)), 3) AS largest_share,
    count(*) FILTER (clusters_overflowed > 0) AS overflowed, round(avg(correct) FILTER (clusters = 1), 3) AS accuracy_one_cluster,
    round(avg(correct) FILTER (clusters > 1), 3) AS accuracy_several
FROM answers WHERE run LIKE $runs AND clusters > 0 GROUP BY run ORDER BY largest_share DESC, run
