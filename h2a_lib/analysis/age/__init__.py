"""Question 1: how close is the estimated age, and for whom is it wrong?"""
