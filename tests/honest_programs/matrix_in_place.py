# entry: rotate
# wrong: matrix.reverse() => None
def rotate(matrix):
    matrix.reverse()
    for i in range(len(matrix)):
        for j in range(i):
            matrix[i][j], matrix[j][i] = matrix[j][i], matrix[i][j]
# ---- tests
m = [[1, 2], [3, 4]]
rotate(m)
assert m == [[3, 1], [4, 2]]
