"""Hand-To-Age: how much can a machine learn from a child's hand radiograph?"""
