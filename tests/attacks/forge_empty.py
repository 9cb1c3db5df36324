# expect: no_entry | failed
