# entry: Matrix
# wrong: self.rows[i][j] = value => self.rows[j][i] = value
class Matrix:
    def __init__(self, rows):
        self.rows = [list(row) for row in rows]

    def __getitem__(self, place):
        i, j = place
        return self.rows[i][j]

    def __setitem__(self, place, value):
        i, j = place
        self.rows[i][j] = value

    def __delitem__(self, i):
        del self.rows[i]

    def __call__(self, factor):
        return Matrix([[factor * x for x in row] for row in self.rows])

    def __eq__(self, other):
        return self.rows == other.rows

    @property
    def T(self):
        return Matrix(zip(*self.rows))
# ---- tests
m = Matrix([[1, 2], [3, 4]])
assert m[0, 1] == 2
m[0, 1] = 9
assert m.rows == [[1, 9], [3, 4]]
assert m(2) == Matrix([[2, 18], [6, 8]])
assert m.T == Matrix([[1, 3], [9, 4]])
del m[0]
assert m.rows == [[3, 4]]
assert callable(m)
