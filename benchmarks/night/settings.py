"""What may change. Plain values: train.py reads this file and does not run it."""

INIT = "plain"  # search: plain|scaled # standard deviation of the weights: one for all, or sqrt(2 / fan-in)
LEARNING_RATE = 0.3  # search: 0.03..3.0 log # at its highest
WARMUP = 10  # search: 1..100 # steps until the rate is at its highest
MOMENTUM = 0.9  # search: 0.5..0.98
WIDTH = 96  # search: 48|64|96|128
WEIGHT_DECAY = 0.0  # search: 0.0..0.01
SMOOTHING = 0.0  # search: 0.0..0.2 # of the characters that are wanted
