"""Pure rules that methods and judges share: clustering, votes, prefixes, confidences, logistic functions. No engine, disk or clock."""
