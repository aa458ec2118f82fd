"""Question 3: does clustering without labels separate the sexes?"""
