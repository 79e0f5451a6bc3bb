"""Learners of PPO, IMPALA and APPO under which a memory that works goes on working."""
