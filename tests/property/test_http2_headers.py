"""Remembered header blocks are what hpack makes of them anew, whatever happened to its table in between."""

from hpack import Decoder, Encoder
from hpack.hpack import HeaderTuple, NeverIndexedHeaderTuple
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ingest import http2_headers
from otel_ingest.http2_headers import BlockDecoder, BlockEncoder

NAMES = [b":path", b"content-type", b"x-a", b"x-b"]
VALUES = [b"", b"application/grpc", b"1", b"2", b"y" * 90]
header = st.builds(
    lambda kind, name, value: kind(name, value),
    st.sampled_from([HeaderTuple, HeaderTuple, NeverIndexedHeaderTuple]),
    st.sampled_from(NAMES),
    st.sampled_from(VALUES),
)
blocks = st.lists(header, min_size=1, max_size=4)
# A few blocks that come again and again, as calls do, between changes of the table's size.
conversations = st.lists(blocks, min_size=1, max_size=6).flatmap(
    lambda some: st.lists(st.sampled_from(some) | st.sampled_from([0, 60, 200, 4096]), max_size=40)
)


@settings(max_examples=300, deadline=None)
@given(conversation=conversations)
def test_what_is_remembered_is_what_would_be_made(conversation: list[list[HeaderTuple] | int]) -> None:
    """Both directions beside hpack's own, block by block."""
    encoder, plain_encoder = BlockEncoder(), Encoder()
    decoder, plain_decoder = BlockDecoder(1 << 16), Decoder(1 << 16)
    for step in conversation:
        if step == encoder.header_table_size:
            continue  # hpack forgets to tell of a size that is set twice
        if isinstance(step, int):
            encoder.header_table_size = plain_encoder.header_table_size = step
            continue
        plain = plain_encoder.encode(step)
        assert encoder.encode(step) == plain
        assert list(decoder.decode(plain, raw=True)) == list(plain_decoder.decode(plain, raw=True)) == step
        for mine, other in ((encoder, plain_encoder), (decoder, plain_decoder)):
            assert mine.header_table.dynamic_entries == other.header_table.dynamic_entries


def test_the_same_block_is_decoded_once() -> None:
    """And another time once it may mean something else; a connection remembers few."""
    decoder, encoder = BlockDecoder(1 << 16), Encoder()
    call = [(b":path", b"/x"), (b"te", b"trailers")]
    encoder.encode(call)
    block = encoder.encode(call)
    decoder.decode(Encoder().encode(call))
    assert decoder.decode(block) is decoder.decode(block)
    before = decoder.decode(block)
    decoder.decode(encoder.encode([(b"x-new", b"1")]))
    assert decoder.decode(encoder.encode(call)) is not before
    for n in range(50):
        decoder.decode(encoder.encode([NeverIndexedHeaderTuple(b"te", b"%d" % n)]))
    assert len(decoder._blocks._known) <= http2_headers._BLOCKS_MAX
