"""What shows a sweep: averages by the role of a token, and the facts behind them."""
