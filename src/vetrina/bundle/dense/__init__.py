"""Dense vectors in one file of faiss, which finds the nearest ones by inner product.

As fitted: 8 bits a number, searched exhaustively, in inverted lists above 50,000 vectors. Smaller: product codes of 4 bits for
every 4 numbers, and the vectors in 6 bits a number, by which the candidates of the codes are ranked again.
"""
