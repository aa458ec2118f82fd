"""Hand-To-Age: how much can a machine read from a hand radiograph of a child?"""
