"""`faultload tune`: one setting of the engines after the other, under a load that fills them.

plan       what is asked, read and checked; nothing is started
conduct    a platform a setting, its record sealed
reading    any sealed record into a point of the curve
telling    points into a judged curve and its reports
"""
