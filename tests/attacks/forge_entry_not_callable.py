# expect: no_entry | runtime_error | failed
add = 5
