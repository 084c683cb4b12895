def drive(m, s):
    model = m.GPT(vocab_size=s.V, context_length=s.T, n_layer=1, n_head=s.H, n_embd=s.C)
    model.forward(list(range(s.T)))
