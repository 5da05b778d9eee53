"""The parts that an activation is a sum of."""
