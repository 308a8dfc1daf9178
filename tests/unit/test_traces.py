from hypothesis import given
from hypothesis import strategies as st

from pruner.records.traces import TokenIds, cut_at_stop, grid_shift, hash64, segment_end


def test_hash_is_the_same_everywhere():
    assert hash64(0, "segment", "p", 3, 1) == 7099153408237607950


def test_hash_says_parts_apart():
    assert hash64("a", "bc") != hash64("ab", "c")
    assert hash64(1) != hash64("1")


@given(st.integers(0, 5000), st.integers(1, 300), st.one_of(st.none(), st.integers(1, 5000)), st.integers(1, 5000))
def test_a_segment_ends_behind_its_begin_and_within_every_bound(done, grid, until, cap):
    if done >= cap:
        return
    end = segment_end(done, grid, until, cap)
    assert done < end <= min(cap, done + grid)
    if until is not None and until > done:
        assert end <= until


@given(st.integers(1, 64), st.integers(1, 2000))
def test_methods_with_boundaries_on_the_grid_cut_traces_alike(grid, cap):
    until = grid * 3

    def cuts(boundary):
        found, done = [], 0
        while done < cap:
            done = segment_end(done, grid, boundary if done < until else None, cap)
            found.append(done)
        return found

    assert cuts(None) == cuts(until)


def test_a_stop_string_over_two_segments_is_found():
    assert cut_at_stop("abc EN", "D of it", ["END"]) == ("", True)
    assert cut_at_stop("abc ", "x END y", ["END"]) == ("x ", True)
    assert cut_at_stop("abc ", "x", ["END"]) == ("x", False)
    assert cut_at_stop("abc ", "x", []) == ("x", False)


@given(st.lists(st.integers(0, 2**31 - 1)), st.lists(st.integers(0, 2**31 - 1)), st.integers(0, 9), st.integers(0, 9))
def test_packed_token_ids_are_like_a_tuple(left, right, start, end):
    one, other = TokenIds(left), tuple(right)
    assert one == tuple(left) and hash(one) == hash(tuple(left)) and repr(one) == repr(tuple(left))
    assert one + other == TokenIds.join((left, right)) == (*left, *right)
    assert other + one == (*right, *left)
    assert one[start:end] == tuple(left)[start:end] and list(one) == left and len(one) == len(left)
    assert TokenIds.of_bytes(one.data) == TokenIds(one) == one
    assert (one == TokenIds(right)) == (left == right)
    assert not left or one[-1] == left[-1]


@given(st.integers(1, 500), st.sampled_from([16, 32, 64]), st.integers(1, 40), st.integers(0, 5000))
def test_an_aligned_segment_ends_one_token_behind_a_block(prompt, block, blocks, done):
    end = segment_end(done, block * blocks, None, 10**9, grid_shift(prompt, block))
    assert done < end <= done + block * blocks
    assert (prompt + end) % block == 1 % block
    assert segment_end(done, block * blocks, None, 10**9, grid_shift(prompt, None)) % (block * blocks) == 0
