"""What is counted and measured, and the listener that tells it to Prometheus.

On the hot path there is one increment, in `counts`. All else is read from where it is anyway, when somebody asks.
"""
