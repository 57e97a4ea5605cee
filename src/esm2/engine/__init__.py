"""The engine: packed tokens in, the six outputs out. torch lives here and nowhere else.

weights     checkpoint on disk -> tensors, checked          pack        sequences -> one tensor
model       the forward pass                                attention   rotary   contacts
readout     hidden states and maps -> Outputs               device      asked for -> used
engine      all of it behind `run`, which is an Executor
"""
