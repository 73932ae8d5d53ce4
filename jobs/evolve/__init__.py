"""A pipeline that changes: plan, apply, backfill, a store made again."""
