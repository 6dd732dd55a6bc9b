"""The sweep: Tune trials, searchers, worker groups kept warm, MLflow tracking, the front, what is left of it."""
