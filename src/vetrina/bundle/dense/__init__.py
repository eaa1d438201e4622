"""Dense vectors in one file of faiss, which finds the nearest ones by inner product.

8 bits a number, searched exhaustively, in inverted lists above 50,000 vectors.
"""
