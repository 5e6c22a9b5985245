"""Layouts of the headers and records that the automaton's kernels read and write: the one place that names an offset.

Five headers, each an int64 array of addresses and counters:

    automaton header   AUTOMATON_*   one a compiled grammar; written by compile/tables.py, read by kernels
    trie header        TRIE_*        one a vocabulary, one a set of remainders; read only
    matcher header     MATCHER_*     one a matcher (and one scratch a grammar); private, written by kernels
    batch header       BATCH_*       one a call for many matchers (runtime/batch.py); read by all of its threads
    table header       TABLE_*       one a mask table (compile/mask_table.py); who holds which row

State record, STATE_SIZE int32 each, at AUTOMATON_STATES:

    STATE_ROW    offset of the state's row in the transitions
    STATE_MAP    offset of its byte classes (256 uint8): transition = transitions[ROW + maps[MAP + byte]]
    STATE_FINAL  result code >= 0 with which the frame may end here, or -1
    STATE_OP     what entering the state does: OP_*
    STATE_ARG    argument of OP
    STATE_ALIAS  the state that this one stands for (itself when it is its own), or -1 while it is not lowered
    STATE_SAFE   index of its safe set (below), or 0
    STATE_ELSE   state whose transitions count where this one has none (a trie of keys laid over "any other key"), or 0;
                 or NOTHING_FOLLOWS: the frame is the whole text, so that no byte can follow its end;
                 or what makes its mask cheaper: SPACED, SPACED_VALUE, or less

Transition values: 0 none; > 0 the next state; REJECT none, and no ELSE either; otherwise minus the number of an action
record, ACTION_SIZE int32: call `target` with return block `block`, consuming the byte (CALL) or not (CALL_BEFORE). When
a frame ends with result code j, its caller goes on in state block + j. Where a byte can be read in several ways, actions
form a chain (`also`, 0 at the end) of calls, moves (MOVE: to state `target`) and ends of the frame before the byte (LEAVE:
with result code `target`).

Safe set, SAFE_SIZE uint64: the ASCII bytes below 64, those below 128, and flags: SAFE_UNICODE when every well-formed
non-ASCII character is safe, too, SAFE_SPACELESS when all but white space and line ends are. A text of safe characters, in
any order, leads from the state to none that could not go on with each of them (or counts them off the register on the
way), so that a subtree of tokens made of them is allowed as a whole. Where the state counts, the flags also say what comes
when the register is zero: with SAFE_ENDLESS a state that every safe character returns to, so that the count does not matter;
with SAFE_LAST one that no safe character may follow.

Stack node, NODE_SIZE int32: return block, register, parent node, next node in the hash chain (NOT_LINKED: in none), next
cell of the set that the node is the first of (0: none), workspace, closure (0: not known, NO_CLOSURE: it has none). Node
0 is the bottom. What sets of stacks and their closures are is said in kernels/stacks.py. A configuration with several
ways on is the state SPLIT with a set whose blocks are states that have been entered.

Fork item, FORK_SIZE int32: what it is (FORK_*), state, register, node. Union, UNION_SIZE int32: two sets, the lesser first
(-1: none), and their union. A cell in the making, 3 int32: block, register, parent. A known step, STEP_SIZE int32:
kernels/known.py.

Row record, ROW_SIZE int64: kind (ROW_DENSE or ROW_SPARSE), address of the mask words or of the token ids, number of
ids, address and number of its segments, address and number of its excluded ranges (int32 pairs of ranks, half open).
Row 0 is the empty one.

A segment, SEGMENT_SIZE int64, is remainders of tokens that end the frame with one result code: address of a trie's
header, result code, first node, end node, and 1 if tokens of the row's excluded ranges do not count (the segment is
another row's, shared by this one).

Words, int64: addresses of WORDS_TEXT (uint8, words with their terminators), WORDS_OFFSETS (int64, where each begins, and
the end), and of int32 with room for all: WORDS_CHOSEN (numbers of words), WORDS_RESULTS (the result code of each chosen one,
or -1: it is forbidden). CURSOR, int64 [4]: how many states, transitions, bytes of maps and actions are in use.

Plan of an object, int64 (kernels/members.py): its words, and behind them how many (PLAN_WORDS), the address of their keys'
numbers (PLAN_WORD_KEYS, int64), of the sets of keys that each key closes (PLAN_BEFORE, int64 [PLAN_KEYS]); sets of keys:
PLAN_OPEN (that may have a value), PLAN_NEEDED, PLAN_INSIDE (to be forbidden where other keys may come); of other keys the
number of their classes (PLAN_CLASSES), the codes of those that may come (PLAN_OTHERS, int64 [PLAN_OTHER_COUNT]), the keys
that they close (PLAN_OTHER_BEFORE), the state that reads them (PLAN_OTHERWISE) and the ARG of tries over it (PLAN_ANY); the
first state of the keys' values (PLAN_VALUES), the state that ends the object (PLAN_CLOSING), the frame of white space
(PLAN_BLANK); from PLAN_MAPS on the maps of byte classes of each place, MAP_*, without and with white space; PLAN_PLACES, int64
[PLAN_PLACE_COUNT, 2]: a place and its state, these ascending; PLAN_SHARED, 1 where all places have one block of states after
keys, and the latest block (PLAN_BLOCK).

Memo entry, MEMO_SIZE int64: key one (state << 16 | slack) or -1 when free, key two (stack node), row number, offset of
its patch (a length, then token ids), the entry's continuation after a late end (state, register, node) or state 0; the row
of the configuration's whole mask in the mask table, serial << 32 | number, or -1. Configurations that are put together of
others have an entry for that row alone.
"""

from __future__ import annotations

# automaton header
AUTOMATON_STATES = 0
AUTOMATON_TRANSITIONS = 1
AUTOMATON_MAPS = 2
AUTOMATON_ACTIONS = 3
AUTOMATON_SAFE = 4
AUTOMATON_ROWS = 5
AUTOMATON_ROW_KEYS = 6  # open addressing: int64 keys (state << 16 | slack), -1 free
AUTOMATON_ROW_NUMBERS = 7  # int32, beside the keys
AUTOMATON_ROW_MASK = 8  # table size - 1
AUTOMATON_SLACK_CAP = 9  # registers above this are the same to every token
AUTOMATON_WORDS = 10  # words of a mask
AUTOMATON_VOCABULARY = 11  # token ids are below this
AUTOMATON_TOKEN_OFFSETS = 12  # int64 [V + 1] into
AUTOMATON_TOKEN_BYTES = 13  # the tokens' bytes; special and padded tokens are empty
AUTOMATON_EOS = 14  # int32 ids
AUTOMATON_EOS_COUNT = 15
AUTOMATON_MAX_TOKEN = 16  # bytes of the longest token
AUTOMATON_RANKS = 17  # int32 [V]: the rank of each token of the trie
AUTOMATON_TRIE = 18  # header of the vocabulary's trie
AUTOMATON_SIZE = 19

# trie header
TRIE_BYTE = 0  # uint8 [N]
TRIE_END = 1  # int32 [N]
TRIE_FIRST = 2  # int32 [N + 1]
TRIE_TOKENS = 3  # int32 [T]
TRIE_SIG_LOW = 4  # uint64 [N], or 0: no signatures
TRIE_SIG_HIGH = 5
TRIE_SIG_FLAGS = 6  # uint8 [N]
TRIE_SIG_CHARS = 7  # int32 [N]
TRIE_NODES = 8
TRIE_NODE_CHARS = (
    9  # int32 [N]: code points that begin on the way to the node, its byte counted; where there are signatures
)
TRIE_RANK_CHARS = 10  # int32 [T]: code points that begin in the token of each rank
TRIE_LISTS = (
    11  # int32 [N]: where in CHILDREN the children of a node are listed, or 0; or 0 instead: there are no lists
)
TRIE_CHILDREN = 12  # int32 pairs: byte and node of each child, in order; behind them -1 and the end of their parent
TRIE_SIZE = 13

# matcher header
MATCHER_NODES = 0
MATCHER_NODE_COUNT = 1
MATCHER_NODE_CAP = 2
MATCHER_HASH = 3  # int32 heads of the chains of nodes; 0 is none
MATCHER_HASH_MASK = 4
MATCHER_MEMO = 5
MATCHER_MEMO_COUNT = 6
MATCHER_MEMO_MASK = 7
MATCHER_PATCH = 8  # int32
MATCHER_PATCH_LENGTH = 9
MATCHER_PATCH_CAP = 10
MATCHER_HISTORY = (
    11  # int32 x HISTORY_SIZE a step: state, register, node, WHERE before it; its token (NO_TOKEN: a text)
)
MATCHER_HISTORY_LENGTH = 12
MATCHER_HISTORY_CAP = 13
MATCHER_STATE = 14
MATCHER_REGISTER = 15
MATCHER_TOP = 16
MATCHER_NEED = 17  # the state to lower, or the first key of the missing row
MATCHER_WALK = 18  # workspace of a walk: int32, WALK_* below
MATCHER_RANGES = 19  # int32 x 2: ranks [from, to) that are allowed
MATCHER_RANGE_COUNT = 20
MATCHER_RANGE_CAP = 21
MATCHER_EXITS = 22  # int32 x 3: trie node, result code, 1 if the node's byte is part of the remainder
MATCHER_EXIT_COUNT = 23
MATCHER_EXIT_CAP = 24
MATCHER_WALK_NODE = 25  # where an interrupted walk goes on
MATCHER_WALK_DEPTH = 26
MATCHER_LINKED = 27  # one more than the last temporary node in the hash table, or less than the first temporary
MATCHER_UNIONS = 28  # int32 [UNION_SLOTS * UNION_SIZE]
MATCHER_CELLS = 29
MATCHER_CELL_COUNT = 30
MATCHER_CELL_CAP = 31
MATCHER_FORK = 32  # int32 [FORK_SIZE] items still to be read or already read, in order
MATCHER_FORK_COUNT = 33
MATCHER_FORK_CAP = 34
MATCHER_FOUND = 35  # int32 x 3: state, register, node of each way on
MATCHER_FOUND_COUNT = 36
MATCHER_LEFT = 37  # int32 x 2: result code of each end of an unknown frame, 1 if it came before the byte
MATCHER_LEFT_COUNT = 38
MATCHER_TODO = (
    39  # int32 x 4: configurations whose masks are still to be joined, and how many frames have ended to come there
)
MATCHER_UNITING = (
    40  # int32 x UNITING_SIZE: unions that wait for others (kernels/stacks.py), as many as there are cells
)
MATCHER_PERMANENT = 41  # nodes below this are permanent; 0 where the callers are not known
MATCHER_NEEDS = 42  # int32 [NEEDS]: further states to lower, which a walk has met and gone on without
MATCHER_NEEDS_COUNT = 43
MATCHER_STEPS = 44  # int32 [(STEPS_MASK + 1) * STEP_SIZE]: steps that this walk knows (kernels/known.py); 0: keeps none
MATCHER_STEPS_MASK = 45
MATCHER_STEPS_WALK = 46  # the number of the walk; steps of another one do not count
MATCHER_BOTH = 47  # 1: at a node of this walk the frame has ended and gone on, too
MATCHER_HELD = 48  # one more than the row of the mask table that the matcher holds; 0: none
MATCHER_NOTED = 49  # the latest state behind a key (OTHER_KEY) in this step, or 0
MATCHER_WATCHED = 50  # MASKS_WATCHED, TEXT_WATCHED, both or 0 (runtime/unique_keys.py)
MATCHER_WHERE = 51  # with TEXT_WATCHED: 8 * containers open in the watched object + where in the innermost, BETWEEN...
MATCHER_RIVALS = 52  # uint8: the watched object's other keys, each with its closing quote; 0: Python knows them
MATCHER_RIVAL_STARTS = 53  # int64: where each begins, and the end of the last
MATCHER_RIVAL_COUNT = 54
MATCHER_SIZE = 55

# batch header; B matchers
BATCH_COUNT = 0  # B
BATCH_MATCHERS = 1  # int64 [B, 2]: headers of automaton and matcher
BATCH_OUT = 2  # address of row 0 of the bitmask
BATCH_STRIDE = 3  # bytes from one row to the next
BATCH_ROWS = 4  # int64 [B]: the row of each matcher
BATCH_TOKENS = 5  # int64 [B]: the token of each matcher, or NO_TOKEN: it is left alone
BATCH_TODO = 6  # int64 [B]: numbers of the matchers that are still to be served
BATCH_TODO_COUNT = 7
BATCH_NEXT = 8  # place in TODO that no thread has taken yet
BATCH_STATUS = 9  # int64 [B]: what was answered for each matcher
BATCH_KEYS = 10  # int64 [B]: where NEED_ROW was answered, the key of the row
BATCH_WANTED = 11  # int64 [WANTED]: marks of configurations whose rows are worth computing; 0: none
BATCH_TABLE = 12  # header of the mask table, where rows are asked for
BATCH_FILL = 13  # where `fill` and `accept_token` lie (kernels/automaton.py)
BATCH_ACCEPT = 14
BATCH_SIZE = 15
WANTED = 512
NO_TOKEN = -1

# table header
TABLE_HOLDS = 0  # int32: how many matchers hold each row
TABLE_SERIALS = 1  # int32: how often each row was given to another mask
TABLE_USED = 2  # int64: the clock when each row was held last
TABLE_CLOCK = 3
TABLE_COUNT = 4  # rows so far
TABLE_SIZE = 5

STATE_SIZE = 8
STATE_ROW, STATE_MAP, STATE_FINAL, STATE_OP, STATE_ARG, STATE_ALIAS, STATE_SAFE, STATE_ELSE = range(8)

OP_NONE = 0
OP_POP = 1  # the frame ends at once with result code FINAL
OP_SET = 2  # register := ARG
OP_COUNT = 3  # register -= 1; at zero go to state ARG
NOTHING_FOLLOWS = -1  # ELSE of a state in a frame that is the whole text
# ELSE of a state of whose mask a part is the row of another one, which many states have in common:
SPACED = (
    -2
)  # a white-space byte calls the frame of white space; the state before that frame's has a run of it before it
SPACED_VALUE = -3  # so it does, and every other byte calls one value before it
LAST_MARK = -3  # below: minus the number of a state that has white space, too, before the value that this one has
ALONGSIDE = 1  # ARG of a plain state with an ELSE that is alive after every prefix of its keys
OTHER_KEY = 2  # ARG of a plain state behind the closing quote of a key that its object does not name

REJECT = -1
ACTION_SIZE = 4
ACTION_TARGET, ACTION_BLOCK, ACTION_KIND, ACTION_ALSO = range(4)
CALL_BEFORE, CALL, MOVE, LEAVE = range(4)

SAFE_SIZE = 3
SAFE_UNICODE, SAFE_LAST, SAFE_ENDLESS, SAFE_SPACELESS = 1, 2, 4, 8
SIG_NON_ASCII, SIG_WELL_FORMED, SIG_SPACES = (
    1,
    2,
    4,
)  # flags of TRIE_SIG_FLAGS (compile/trie.py, compile/token_tables.py)

HISTORY_SIZE = 5
HISTORY_WHERE, HISTORY_TOKEN = 3, 4
# Every mask depends on what was written, beside the automaton; tokens are followed as JSON, and masks of keys depend on that.
MASKS_WATCHED, TEXT_WATCHED = 1, 2
# Where a text is: outside of strings; where the next string is a key of the watched object; in a string, and there behind a
# backslash; in such a key that can become none before it, and behind a backslash; in one that can, and behind its quote: both
# are for Python to follow.
BETWEEN, DUE, IN_STRING, IN_STRING_ESCAPED, IN_KEY, IN_KEY_ESCAPED, IN_RIVAL, RIVAL_BEGUN = range(8)

NODE_SIZE = 7
NODE_BLOCK, NODE_REGISTER, NODE_PARENT, NODE_NEXT, NODE_ALSO, NODE_MARK, NODE_CLOSURE = range(7)
NOT_LINKED = -1
NO_CLOSURE = -1

FORK_SIZE = 4
FORK_KIND, FORK_STATE, FORK_REGISTER, FORK_TOP = range(4)
# Bits of KIND: the byte is behind it; the state has been entered; where its frame's callers go on is among the items.
FORK_CONSUMED, FORK_ENTERED, FORK_CLOSED = 1, 2, 4
UNION_SIZE, UNION_SLOTS = 3, 512
STEP_SIZE = 10
(
    STEP_WALK,
    STEP_BYTE,
    STEP_BEFORE,
    STEP_COUNT,
    STEP_TOP,
    STEP_STATUS,
    STEP_STATE,
    STEP_REGISTER,
    STEP_NODE,
    STEP_LEFT,
) = range(10)
UNITING_SIZE = 7
MAX_LEFT = 64
NEEDS = 64

ROW_SIZE = 7
ROW_KIND, ROW_DATA, ROW_COUNT, ROW_SEGMENTS, ROW_SEGMENT_COUNT, ROW_EXCLUDED, ROW_EXCLUDED_COUNT = range(7)
ROW_DENSE, ROW_SPARSE = 1, 2
SEGMENT_SIZE = 5
SEGMENT_TRIE, SEGMENT_RESULT, SEGMENT_LOW, SEGMENT_HIGH, SEGMENT_SHARED = range(5)

WORDS_TEXT, WORDS_OFFSETS, WORDS_CHOSEN, WORDS_RESULTS = range(4)
PLAN_WORDS, PLAN_WORD_KEYS, PLAN_BEFORE, PLAN_KEYS, PLAN_OPEN, PLAN_NEEDED, PLAN_INSIDE = range(4, 11)
PLAN_CLASSES, PLAN_OTHERS, PLAN_OTHER_COUNT, PLAN_OTHER_BEFORE, PLAN_OTHERWISE, PLAN_ANY = range(11, 17)
PLAN_VALUES, PLAN_CLOSING, PLAN_BLANK, PLAN_PLACES, PLAN_PLACE_COUNT, PLAN_SHARED, PLAN_BLOCK = range(17, 24)
PLAN_MAPS, PLAN_SIZE = 24, 34
MAP_OPENED, MAP_MEMBER, MAP_COMMA, MAP_COLON, MAP_VALUE = range(0, 10, 2)
OPENED = 1 << 62  # in the set of a place: behind `{`
MAX_KEYS = 60  # of an object with a plan

MEMO_SIZE = 8
MEMO_STATE, MEMO_TOP, MEMO_ROW, MEMO_PATCH, MEMO_NEXT_STATE, MEMO_NEXT_REGISTER, MEMO_NEXT_TOP, MEMO_NUMBER = range(8)

# One a depth: end of the subtree, state, register, node, number of nodes, place in the list of children (0: none).
WALK_SIZE = 6

# reserved states: 0 is no state; DONE follows the root value, ENDED an end-of-sequence token
DONE = 1
ENDED = 2
SPLIT = 3

# what a kernel answers
OK = 0
REJECTED = 1
NEED_LOWER = 2
NEED_ROW = 3
NEED_NODES = 4
NEED_MEMO = 5
NEED_PATCH = 6
NEED_HISTORY = 7
NEED_RANGES = 8
NEED_EXITS = 9
EXIT_AFTER = 10  # internal to a walk: the frame ended, the byte was consumed
EXIT_BEFORE = 11  # internal to a walk: the frame ended before the byte
EXIT_SOME = 12  # internal to a walk: the frame ended in the ways of LEFT; if there is a state, it also goes on
NEED_FORKS = 13
NEED_CLOSURE = 14
FORKS = 15  # internal to a step: there are several ways on
NEED_TEXT = 16  # the token matters beside the automaton: Python moves over it
RESTRICT = 17  # the mask is written, but Python takes tokens out of it for what was written before
