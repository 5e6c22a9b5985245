"""A grammar instead of a schema: the model writes a query, and nothing but a query.

The rules are in EBNF, as llama.cpp and XGrammar write it; `Grammar.from_lark` reads lark's notation.
"""

import maskwright

QUERY = r"""
root      ::= "SELECT " columns " FROM " table (" WHERE " condition)?
columns   ::= "*" | column ("," " "? column)*
column    ::= "name" | "age" | "city"
table     ::= "people" | "customers"
condition ::= column " " ("=" | "<" | ">") " " value | condition " AND " condition | "(" condition ")"
value     ::= [1-9] [0-9]{0,2} | "'" [A-Za-z]{1,12} "'"
"""

if __name__ == "__main__":
    print(maskwright.generate(None, "How old are the customers?", grammar=QUERY, max_new_tokens=60))
