"""See why: what every level of a network did with a pair, as named arrays on their own grids."""
