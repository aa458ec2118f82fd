"""Question 2: can sex be classified beyond the age label and beyond maturity?"""
