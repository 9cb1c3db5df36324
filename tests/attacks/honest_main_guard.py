# expect: passed
# tests: {"stdio": [{"stdin": "4\n", "stdout": "16\n"}]}
def main():
    print(int(input()) ** 2)


if __name__ == "__main__":
    main()
